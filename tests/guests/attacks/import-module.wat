;; Wants a module from the host.
(component
  (import "libc" (core module)))
