@group(0) @binding(10) var<storage, read_write> seeds: array<u32>;
