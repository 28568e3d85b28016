@group(0) @binding(8) var<storage, read> lengths: array<u32>;
