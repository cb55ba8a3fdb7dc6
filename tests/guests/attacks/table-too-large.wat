;; A table of a million elements from the start.
(table 1000000 funcref)
