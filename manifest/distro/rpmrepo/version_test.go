package rpmrepo

import "testing"

// Each is older than the next, as rpm-version(7) and rpm's own tests have it.
func TestCompareVersions(t *testing.T) {
	for _, chain := range [][]string{
		{"1.0", "2.0", "2.0.1", "2.0.1a", "2.0.2"},
		{"1.0~rc1", "1.0~rc2", "1.0", "1.0^git1", "1.0^git1.1", "1.0.1"},
		{"1.0~rc1", "1.0~rc1^git1", "1.0"},
		{"1.0^git1~pre", "1.0^git1", "1.01"},
		{"10abc", "10.0001", "10.0039"},
		{"xyz.4", "8"},
		{"5.5p1", "5.5p2", "5.5p10"},
		{"4.999.9", "5.0"},
		{"9-1", "1:0-1", "1:0-2", "2:0-1"},
		{"1.9", "1.10"},
		{"1-1.fc39", "1-1.fc40"},
		{"1.0", "1.0a"},
	} {
		for i := range chain[1:] {
			a, b := chain[i], chain[i+1]
			if CompareVersions(a, b) >= 0 || CompareVersions(b, a) <= 0 {
				t.Errorf("%s is not older than %s", a, b)
			}
		}
	}
	for _, same := range [][2]string{{"1.0", "1_0"}, {"0:1-1", "1-1"}, {"1.01", "1.1"}, {"2_0", "2.0"}, {"a+", "a_"}, {"", ""}} {
		if CompareVersions(same[0], same[1]) != 0 {
			t.Errorf("%s and %s are not the same", same[0], same[1])
		}
	}
}
