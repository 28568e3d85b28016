// The groups that stay in the race, one bit each.
fn kept_groups(token: Token, field: Field) -> u32 {
    var scores: array<i32, 32>;
    for (var g = 0u; g < params.groups; g++) {
        let start = g * group_quads();
        var first = vec4(EXCLUDED);
        var second = vec4(EXCLUDED);
        for (var q = start; q < start + group_quads(); q++) {
            let k = keys(token, field, q);
            second = max(second, min(first, k));
            first = max(first, k);
        }
        // The two best of the two best of four.
        let a = max(first.xy, first.zw);
        let b = max(min(first.xy, first.zw), max(second.xy, second.zw));
        scores[g] = group_key(max(a.x, a.y), max(min(a.x, a.y), max(b.x, b.y)));
    }
    var kept = 0u;
    for (var g = 0u; g < params.groups; g++) {
        var better = 0u;
        for (var other = 0u; other < params.groups; other++) {
            let before = scores[other] > scores[g] || (scores[other] == scores[g] && other < g);
            better += select(0u, 1u, before);
        }
        kept |= select(0u, 1u << g, better < params.kept_groups);
    }
    return kept;
}
