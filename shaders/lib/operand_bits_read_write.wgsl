@group(0) @binding(11) var<storage, read_write> bits: array<u32>;
