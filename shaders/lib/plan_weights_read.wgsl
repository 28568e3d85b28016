@group(0) @binding(11) var<storage, read> weights: array<u32>;
