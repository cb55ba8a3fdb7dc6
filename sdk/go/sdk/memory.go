package sdk

// What a piece of memory holds at most; the oldest goes when a new one comes.
const most = 64

// A time that lies in the future was just now: the clock was set back.
func since(nowMs, thenMs uint64) uint64 {
	if thenMs > nowMs {
		return 0
	}
	return nowMs - thenMs
}

// CoolDown knows when each of several things last happened, so that none happens again too soon.
type CoolDown struct {
	Last []Happened `json:"last"`
}

// Happened is one thing, and when it happened.
type Happened struct {
	What uint64 `json:"what"`
	AtMs uint64 `json:"at_ms"`
}

// Ready says whether a thing may happen now: it never did, or at least pauseMs ago. If so, it counts as done.
func (c *CoolDown) Ready(what string, nowMs, pauseMs uint64) bool {
	key := Fingerprint(what)
	for at := range c.Last {
		if c.Last[at].What != key {
			continue
		}
		c.Last[at].AtMs = min(c.Last[at].AtMs, nowMs)
		if nowMs-c.Last[at].AtMs < pauseMs {
			return false
		}
		c.Last = append(c.Last[:at], c.Last[at+1:]...)
		break
	}
	c.Last = bounded(append(c.Last, Happened{key, nowMs}))
	return true
}

// Window counts how often something happened lately.
type Window struct {
	AtMs []uint64 `json:"at_ms"`
}

// Add says that it happened now.
func (w *Window) Add(nowMs uint64) { w.AtMs = bounded(append(w.AtMs, nowMs)) }

// Count is how often it happened within the last spanMs; 64 at most.
func (w *Window) Count(nowMs, spanMs uint64) int {
	count := 0
	for _, at := range w.AtMs {
		if since(nowMs, at) <= spanMs {
			count++
		}
	}
	return count
}

func bounded[T any](list []T) []T { return list[max(0, len(list)-most):] }
