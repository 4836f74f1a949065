package pacmanrepo

import "testing"

// Each is older than the next, as vercmp(8) and pacman's own tests have it.
func TestCompareVersions(t *testing.T) {
	for _, chain := range [][]string{
		{"1.0a", "1.0b", "1.0beta", "1.0p", "1.0pre", "1.0rc", "1.0", "1.0.a", "1.0.1"},
		{"1", "1.0", "1.1", "1.1.1", "1.2", "2.0", "3.0.0"},
		{"1.5.0-1", "1.5.0-2", "1.5.1-1"},
		{"1.5-1", "1.6"},
		{"1.5.b", "1.5.1"},
		{"2.0-1", "1:1.0-1", "2:0.1-1"},
		{"1.9", "1.10", "1.0100"},
		{"1.0", "1.0."}, {"1.0", "1..0"},
	} {
		for i := range chain[1:] {
			a, b := chain[i], chain[i+1]
			if CompareVersions(a, b) >= 0 || CompareVersions(b, a) <= 0 {
				t.Errorf("%s is not older than %s", a, b)
			}
		}
	}
	for _, same := range [][2]string{{"1.5", "1.5-1"}, {"0:1.0-1", "1.0-1"}, {"1.01", "1.1"}, {"", ""}} {
		if CompareVersions(same[0], same[1]) != 0 {
			t.Errorf("%s and %s are not the same", same[0], same[1])
		}
	}
}
