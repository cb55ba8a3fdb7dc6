;; More memory to keep than the contract allows.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 3140) (i32.const 4096))
  (i32.store (i32.const 3144) (i32.const 16385))
  (i32.const 3072))
