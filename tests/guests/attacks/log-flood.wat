;; Logs a thousand lines and answers well.
(import "dbmedic:policy/log@0.2.0" "write" (func $log (param i32 i32 i32)))
(func (export "@decide") (param i32) (result i32) (local $n i32)
  (loop $again
    (call $log (i32.const 3) (i32.const 320) (i32.const 11))
    (br_if $again
      (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))
  (i32.const 3072))
