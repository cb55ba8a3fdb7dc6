;; Wants a bare function.
(component
  (import "spawn" (func)))
