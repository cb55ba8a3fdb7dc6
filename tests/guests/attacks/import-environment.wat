;; Wants more than the contract: environment.
(component
  (import "wasi:cli/environment@0.2.3" (instance)))
