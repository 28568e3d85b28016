@group(0) @binding(7) var<storage, read_write> map: array<u32>;
