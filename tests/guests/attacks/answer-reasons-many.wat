;; More reasons than the contract allows.
(func (export "@decide") (param i32) (result i32) (local $n i32)
  (loop $again
    (memory.copy
      (i32.add (i32.const 4096) (i32.mul (local.get $n) (i32.const 16)))
      (i32.const 512)
      (i32.const 16))
    (br_if $again
      (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 65))))
  (i32.store (i32.const 3124) (i32.const 4096))
  (i32.store (i32.const 3128) (i32.const 65))
  (i32.const 3072))
