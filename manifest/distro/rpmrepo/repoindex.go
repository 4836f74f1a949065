package rpmrepo

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// ParseRepoindex reads the repositories of a service of zypper (repoindex.xml). Attributes of the root element are
// variables, %{NAME}, of the others. service becomes the first part of each name, as zypper has it.
func ParseRepoindex(b []byte, service string, expand func(string) string) ([]Repo, error) {
	if len(b) > MaxRepoFile {
		return nil, fmt.Errorf("parse repoindex.xml: more than %d bytes", MaxRepoFile)
	}
	var doc struct {
		XMLName xml.Name
		Attrs   []xml.Attr `xml:",any,attr"`
		Repos   []struct {
			Attrs []xml.Attr `xml:",any,attr"`
		} `xml:"repo"`
	}
	if err := unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("parse repoindex.xml: %w", err)
	}
	if doc.XMLName.Local != "repoindex" {
		return nil, fmt.Errorf("parse repoindex.xml: it is a <%s>", doc.XMLName.Local)
	}
	var pairs []string
	for _, a := range doc.Attrs {
		pairs = append(pairs, "%{"+a.Name.Local+"}", a.Value)
	}
	replace := strings.NewReplacer(pairs...)
	var sections []Section
	for _, r := range doc.Repos {
		s := Section{Keys: map[string]string{"enabled": "0", "service": service}}
		for _, a := range r.Attrs {
			s.Keys[a.Name.Local] = replace.Replace(a.Value)
		}
		if s.Keys["url"] != "" {
			s.Keys["baseurl"] = s.Keys["url"]
		}
		s.Name = service + ":" + s.Keys["alias"]
		sections = append(sections, s)
	}
	return Repos("service "+service, sections, expand)
}
