;; Wants more than the contract: filesystem.
(component
  (import "wasi:filesystem/preopens@0.2.3" (instance)))
