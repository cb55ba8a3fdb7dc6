;; A refusal without a rule.
(func (export "@decide") (param i32) (result i32)
  (i64.store (i32.const 3080) (i64.const 0))
  (i64.store (i32.const 3088) (i64.const 0))
  (i32.store8 (i32.const 3072) (i32.const 1))
  (i32.const 3072))
