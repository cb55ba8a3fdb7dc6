;; Gives the same memory for every argument, its own answer included.
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (i32.const 3072))
