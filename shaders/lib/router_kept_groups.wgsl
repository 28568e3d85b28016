const GROUPS = 32u;

// Each group's best columns are kept until it is known which groups stay in the race: one pass.
fn found_in(token: Token) -> Found {
    let field = survey_alone(token);
    var lists: array<vec4<i32>, GROUPS * LISTS>;
    var nexts: array<i32, GROUPS>;
    var scores: array<i32, GROUPS>;
    for (var g = 0u; g < params.groups; g++) {
        let start = g * group_quads();
        var list = no_list();
        var first = vec4(EXCLUDED);
        var second = vec4(EXCLUDED);
        for (var q = start; q < start + group_quads(); q++) {
            let k = keys(token, field, q);
            second = max(second, min(first, k));
            first = max(first, k);
            list = inserted_four(list, packed(k, q));
        }
        // The two best of the two best of four.
        let a = max(first.xy, first.zw);
        let b = max(min(first.xy, first.zw), max(second.xy, second.zw));
        scores[g] = group_key(max(a.x, a.y), max(min(a.x, a.y), max(b.x, b.y)));
        nexts[g] = list.next;
        lists[g * LISTS] = list.a;
        if (LISTS > 1u) {
            lists[g * LISTS + 1u] = list.b;
        }
        if (LISTS > 2u) {
            lists[g * LISTS + 2u] = list.c;
        }
        if (LISTS > 3u) {
            lists[g * LISTS + 3u] = list.d;
        }
    }
    var best = no_list();
    var kept = 0u;
    for (var g = 0u; g < params.groups; g++) {
        var better = 0u;
        for (var other = 0u; other < params.groups; other++) {
            let before = scores[other] > scores[g] || (scores[other] == scores[g] && other < g);
            better += select(0u, 1u, before);
        }
        if (better < params.kept_groups) {
            kept |= 1u << g;
            for (var i = 0u; i < LISTS; i++) {
                best = inserted_four(best, lists[g * LISTS + i]);
            }
            best = inserted(best, nexts[g]);
        }
    }
    return Found(best, kept, field);
}
