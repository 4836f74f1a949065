package ocispec

import "strings"

// mergeEnv joins lists of NAME=value; later lists win and a name keeps the place it came in at first. Entries without a
// name or without "=", and with a NUL byte, come from hostile images only and are left out.
func mergeEnv(lists ...[]string) []string {
	var merged []string
	at := map[string]int{}
	for _, list := range lists {
		for _, kv := range list {
			name, _, ok := strings.Cut(kv, "=")
			if !ok || name == "" || strings.ContainsAny(kv, "\x00") || strings.ContainsAny(name, " \t\n*") {
				continue
			}
			if i, seen := at[name]; seen {
				merged[i] = kv
				continue
			}
			at[name] = len(merged)
			merged = append(merged, kv)
		}
	}
	return merged
}
