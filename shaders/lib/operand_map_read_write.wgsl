@group(0) @binding(6) var<storage, read_write> map: array<u32>;
