;; Takes all the memory it can have, writes all of it, and gives up.
(func (export "@decide") (param i32) (result i32)
  (loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (memory.fill
    (i32.const 131072)
    (i32.const 7)
    (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 131072)))
  (unreachable))
