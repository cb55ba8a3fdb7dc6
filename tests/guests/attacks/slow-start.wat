;; Starts, but takes a second or more about it.
(func $start (local $left i32)
  (local.set $left (i32.const -1))
  (loop $again
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
(start $start)
