;; Breaks off.
(func (export "@decide") (param i32) (result i32) (unreachable))
