;; Calls the host while it cleans up.
(import "dbmedic:policy/log@0.2.0" "write" (func $log (param i32 i32 i32)))
(func (export "@post-decide") (param i32)
  (call $log (i32.const 0) (i32.const 256) (i32.const 6)))
