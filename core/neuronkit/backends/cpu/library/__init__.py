"""What compiled graphs call that is written in C++: linear layers and attention, for x86 CPUs with AVX2 (docs/decisions/0022)."""
