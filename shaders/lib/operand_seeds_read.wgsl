@group(0) @binding(10) var<storage, read> seeds: array<u32>;
