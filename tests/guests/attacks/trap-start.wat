;; Breaks off at its start.
(func $start (unreachable))
(start $start)
