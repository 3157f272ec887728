package python

// LimitSteps lets scripts run for n instructions only.
func LimitSteps(n uint64) { maxSteps = n }
