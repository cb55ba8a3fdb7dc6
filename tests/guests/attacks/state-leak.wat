;; Leaves a mark all over its memory, and says whether it found one.
(global $at (mut i32) (i32.const 131072))
(func (export "@decide") (param i32) (result i32)
  (drop (memory.grow (i32.const 100)))
  (loop $again
    (if (i32.load (global.get $at)) (then (i32.store (i32.const 4096) (i32.const 1))))
    (i32.store (global.get $at) (i32.const 0x5ec2e7))
    (global.set $at (i32.add (global.get $at) (i32.const 4096)))
    (br_if $again
      (i32.lt_u (global.get $at) (i32.mul (memory.size) (i32.const 65536)))))
  (i32.store (i32.const 3140) (i32.const 4096))
  (i32.store (i32.const 3144) (i32.const 4))
  (i32.const 3072))
