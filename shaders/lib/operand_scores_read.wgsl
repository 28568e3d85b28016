@group(0) @binding(1) var<storage, read> scores: array<u32>;
