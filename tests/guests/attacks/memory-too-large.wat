;; 64 MiB from the start.
(memory (export "memory") 1024)
