;; Calls the host at its start, before it is wired.
(import "dbmedic:policy/log@0.2.0" "write" (func $log (param i32 i32 i32)))
(func $start
  (call $log (i32.const 0) (i32.const 256) (i32.const 6)))
(start $start)
