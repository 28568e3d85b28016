@group(0) @binding(11) var<storage, read> bits: array<u32>;
