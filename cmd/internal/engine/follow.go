package engine

import "time"

// lookEvery is how often a store is looked at by whoever follows what others change in it.
const lookEvery = time.Second

// Pause is how long to wait before the store is listed again, when the last time took so long: what takes long is done less often.
// Whether an environment runs is known to the kernel alone, and no file tells when that changes.
func Pause(took time.Duration) time.Duration { return max(lookEvery, 20*took) }

// Differences tells what has become of environments between two lists.
func Differences(before, after []Environment) (added, removed, changed []Environment) {
	old := make(map[string]Environment, len(before))
	for _, e := range before {
		old[string(e.EnvID)] = e
	}
	for _, e := range after {
		was, had := old[string(e.EnvID)]
		switch {
		case !had:
			added = append(added, e)
		case was != e:
			changed = append(changed, e)
		}
		delete(old, string(e.EnvID))
	}
	for _, e := range before {
		if _, gone := old[string(e.EnvID)]; gone {
			removed = append(removed, e)
		}
	}
	return added, removed, changed
}
