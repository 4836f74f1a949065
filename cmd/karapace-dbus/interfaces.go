package main

import (
	"reflect"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

const (
	propertiesName     = "org.freedesktop.DBus.Properties"
	introspectableName = "org.freedesktop.DBus.Introspectable"
	peerName           = "org.freedesktop.DBus.Peer"
	objectsName        = "org.freedesktop.DBus.ObjectManager"
)

// face is an interface: what introspection tells of it, and what answers.
type face struct {
	name       string
	methods    []method
	signals    []notice
	properties []property
}

// method is an entry of a face. in and out name its arguments; fn takes the message, then what came, and returns what goes, then
// a *dbus.Error.
type method struct {
	name, in, out string
	fn            any
}

// notice is a signal. It has its arguments as NAME:TYPE.
type notice struct{ name, args string }

// property is one that can be read. emits is what the annotation EmitsChangedSignal says: true, false or const.
type property struct{ name, signature, emits string }

func (f face) describe() introspect.Interface {
	out := introspect.Interface{Name: f.name}
	for _, m := range f.methods {
		t := reflect.TypeOf(m.fn)
		told := introspect.Method{Name: m.name}
		for i, name := range strings.Fields(m.in) {
			told.Args = append(told.Args, introspect.Arg{Name: name, Type: dbus.SignatureOfType(t.In(i + 1)).String(), Direction: "in"})
		}
		for i, name := range strings.Fields(m.out) {
			told.Args = append(told.Args, introspect.Arg{Name: name, Type: dbus.SignatureOfType(t.Out(i)).String(), Direction: "out"})
		}
		out.Methods = append(out.Methods, told)
	}
	for _, s := range f.signals {
		told := introspect.Signal{Name: s.name}
		for _, arg := range strings.Fields(s.args) {
			name, signature, _ := strings.Cut(arg, ":")
			told.Args = append(told.Args, introspect.Arg{Name: name, Type: signature})
		}
		out.Signals = append(out.Signals, told)
	}
	for _, p := range f.properties {
		out.Properties = append(out.Properties, introspect.Property{Name: p.name, Type: p.signature, Access: "read",
			Annotations: []introspect.Annotation{{Name: "org.freedesktop.DBus.Property.EmitsChangedSignal", Value: p.emits}}})
	}
	return out
}

// table is what the connection calls: every method behind admission, and counted until it has been answered.
func (s *service) table(f face) map[string]any {
	out := map[string]any{}
	for _, m := range f.methods {
		out[m.name] = s.guarded(reflect.ValueOf(m.fn))
	}
	return out
}

func (s *service) guarded(fn reflect.Value) any {
	return reflect.MakeFunc(fn.Type(), func(args []reflect.Value) []reflect.Value {
		msg := args[0].Interface().(dbus.Message)
		defer s.traffic.done(&msg)
		if refused := s.admit(&msg); refused != nil {
			return refusal(fn.Type(), refused)
		}
		return fn.Call(args)
	}).Interface()
}

// maxCalls is how many calls are served at once.
const maxCalls = 512

func (s *service) admit(msg *dbus.Message) *dbus.Error {
	if s.traffic.count() > maxCalls {
		return refuse(limitExceeded, "%d calls are being served already", maxCalls)
	}
	return s.callers.admit(callOf(msg).sender)
}

// refusal is what a function of a type returns with an error.
func refusal(t reflect.Type, refused *dbus.Error) []reflect.Value {
	var out []reflect.Value
	for i := range t.NumOut() - 1 {
		out = append(out, reflect.Zero(t.Out(i)))
	}
	return append(out, reflect.ValueOf(refused))
}

// export makes everything callable. It happens once, before anybody knows the name: jobs are answered for by the object above them.
func (s *service) export() error {
	for _, f := range append(s.standard(), s.manager(), s.objectManager()) {
		if err := s.conn.ExportMethodTable(s.table(f), managerPath, f.name); err != nil {
			return err
		}
	}
	for _, f := range append(s.standard(), s.jobFace()) {
		if err := s.conn.ExportSubtreeMethodTable(s.table(f), jobsPath, f.name); err != nil {
			return err
		}
	}
	return nil
}

func pathOf(msg dbus.Message) dbus.ObjectPath {
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	return path
}
