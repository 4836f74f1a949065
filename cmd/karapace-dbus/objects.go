package main

import (
	"encoding/xml"
	"path"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// standard are the interfaces that every object has.
func (s *service) standard() []face {
	return []face{
		{name: introspectableName, methods: []method{{"Introspect", "", "xml_data", s.introspect}}},
		{
			name: propertiesName,
			methods: []method{
				{"Get", "interface_name property_name", "value", s.getProperty},
				{"GetAll", "interface_name", "properties", s.getProperties},
				{"Set", "interface_name property_name value", "", s.setProperty},
			},
			signals: []notice{{"PropertiesChanged", "interface_name:s changed_properties:a{sv} invalidated_properties:as"}},
		},
	}
}

// objectManager tells of jobs.
func (s *service) objectManager() face {
	return face{
		name:    objectsName,
		methods: []method{{"GetManagedObjects", "", "objects", s.managedObjects}},
		signals: []notice{
			{"InterfacesAdded", "object_path:o interfaces_and_properties:a{sa{sv}}"},
			{"InterfacesRemoved", "object_path:o interfaces:as"},
		},
	}
}

func (s *service) managedObjects(dbus.Message) (map[dbus.ObjectPath]map[string]dict, *dbus.Error) {
	out := map[dbus.ObjectPath]map[string]dict{}
	for _, j := range s.jobs.list() {
		out[j.path] = map[string]dict{jobName: j.properties()}
	}
	return out, nil
}

func (s *service) introspect(msg dbus.Message) (string, *dbus.Error) {
	node := introspect.Node{Interfaces: []introspect.Interface{introspect.PeerData}}
	faces := s.standard()
	switch at := pathOf(msg); {
	case at == managerPath:
		faces = append(faces, s.manager(), s.objectManager())
		node.Children = []introspect.Node{{Name: path.Base(string(jobsPath))}}
	case at == jobsPath:
		faces = faces[:1]
		for _, j := range s.jobs.list() {
			node.Children = append(node.Children, introspect.Node{Name: path.Base(string(j.path))})
		}
	default:
		if _, refused := s.jobAt(msg); refused != nil {
			return "", refused
		}
		faces = append(faces, s.jobFace())
	}
	for _, f := range faces {
		node.Interfaces = append(node.Interfaces, f.describe())
	}
	document, err := xml.MarshalIndent(node, "", " ")
	if err != nil {
		return "", fault(err)
	}
	return strings.TrimSpace(introspect.IntrospectDeclarationString) + "\n" + string(document), nil
}

// The errors of the specification that org.freedesktop.DBus.Properties gives.
const (
	unknownInterface = "org.freedesktop.DBus.Error.UnknownInterface"
	unknownProperty  = "org.freedesktop.DBus.Error.UnknownProperty"
	readOnlyProperty = "org.freedesktop.DBus.Error.PropertyReadOnly"
	unknownObject    = "org.freedesktop.DBus.Error.UnknownObject"
)

// getProperties are those of one interface of the object that a message is for; an empty name is all of them.
func (s *service) getProperties(msg dbus.Message, name string) (dict, *dbus.Error) {
	if pathOf(msg) == managerPath {
		if name != "" && name != managerName {
			return noProperties(name, propertiesName, introspectableName, peerName, objectsName)
		}
		return dict{"ApiVersion": dbus.MakeVariant(apiVersion), "StoreRoot": dbus.MakeVariant(text(s.root)), "Version": dbus.MakeVariant(version)}, nil
	}
	j, refused := s.jobAt(msg)
	if refused != nil {
		return nil, refused
	}
	if name != "" && name != jobName {
		return noProperties(name, propertiesName, introspectableName, peerName)
	}
	return j.properties(), nil
}

func noProperties(name string, without ...string) (dict, *dbus.Error) {
	for _, w := range without {
		if name == w {
			return dict{}, nil
		}
	}
	return nil, dbus.NewError(unknownInterface, []any{"there is no interface " + name})
}

func (s *service) getProperty(msg dbus.Message, face, name string) (dbus.Variant, *dbus.Error) {
	all, refused := s.getProperties(msg, face)
	if refused != nil {
		return dbus.Variant{}, refused
	}
	value, ok := all[name]
	if !ok {
		return dbus.Variant{}, dbus.NewError(unknownProperty, []any{"there is no property " + name})
	}
	return value, nil
}

func (s *service) setProperty(msg dbus.Message, face, name string, _ dbus.Variant) *dbus.Error {
	if _, refused := s.getProperty(msg, face, name); refused != nil {
		return refused
	}
	return dbus.NewError(readOnlyProperty, []any{"the property " + name + " can only be read"})
}

// jobFace is org.karapace.Job1.
func (s *service) jobFace() face {
	return face{
		name:    jobName,
		methods: []method{{"Cancel", "", "", s.cancelJob}},
		signals: []notice{
			{"Progress", "step:s done:x total:x"},
			{"Note", "text:s"},
			{"Finished", "success:b error:s message:s result:a{sv}"},
		},
		properties: []property{
			{"Kind", "s", "const"}, {"Environment", "s", "const"}, {"State", "s", "true"}, {"Step", "s", "false"}, {"Done", "x", "false"},
			{"Total", "x", "false"}, {"Error", "s", "true"}, {"Message", "s", "true"}, {"Result", "a{sv}", "true"},
		},
	}
}

func (s *service) jobAt(msg dbus.Message) (*job, *dbus.Error) {
	j, ok := s.jobs.find(pathOf(msg))
	if !ok {
		return nil, dbus.NewError(unknownObject, []any{"there is no job " + string(pathOf(msg))})
	}
	return j, nil
}

// cancelJob asks a job to end. One that has ended stays as it is.
func (s *service) cancelJob(msg dbus.Message) *dbus.Error {
	j, refused := s.jobAt(msg)
	if refused == nil {
		j.cancel()
	}
	return refused
}
