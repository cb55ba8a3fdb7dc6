;; Wants an interface that nobody offers.
(component
  (import "evil:door/open@1.0.0" (instance)))
