;; Wants more than the contract: random.
(component
  (import "wasi:random/random@0.2.3" (instance)))
