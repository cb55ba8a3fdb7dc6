;; Wants more than the contract: sockets.
(component
  (import "wasi:sockets/tcp@0.2.3" (instance)))
