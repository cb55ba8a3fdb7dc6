;; Wants more than the contract: clock.
(component
  (import "wasi:clocks/wall-clock@0.2.3" (instance)))
