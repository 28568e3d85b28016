const GROUPS = 32u;

// Each group's best columns are kept until it is known which groups stay in the race: one pass.
fn found_in(token: Token) -> Found {
    let field = survey_alone(token);
    var lists: array<vec4<i32>, GROUPS * LISTS>;
    var nexts: array<i32, GROUPS>;
    var best_groups = nothing();
    for (var g = 0u; g < params.groups; g++) {
        let start = g * group_quads();
        var list = no_list();
        var first = vec4(EXCLUDED);
        var second = vec4(EXCLUDED);
        let end = start + group_quads();
        var q = start;
        for (; q + 1u < end; q += 2u) {
            let k = keys(token, field, q);
            let l = keys(token, field, q + 1u);
            second = max(second, min(first, k));
            first = max(first, k);
            second = max(second, min(first, l));
            first = max(first, l);
            list = inserted_four(inserted_four(list, packed(k, q)), packed(l, q + 1u));
        }
        for (; q < end; q++) {
            let k = keys(token, field, q);
            second = max(second, min(first, k));
            first = max(first, k);
            list = inserted_four(list, packed(k, q));
        }
        // The two best of the two best of four.
        let a = max(first.xy, first.zw);
        let b = max(min(first.xy, first.zw), max(second.xy, second.zw));
        best_groups = entered_one(best_groups, group_key(max(a.x, a.y), max(min(a.x, a.y), max(b.x, b.y))), g);
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
    let order = best_groups;
    var kept = bits_of_first(order.a, order.columns.a, 0u);
    if (LISTS > 1u) {
        kept |= bits_of_first(order.b, order.columns.b, 4u);
    }
    if (LISTS > 2u) {
        kept |= bits_of_first(order.c, order.columns.c, 8u);
    }
    if (LISTS > 3u) {
        kept |= bits_of_first(order.d, order.columns.d, 12u);
    }
    var best = no_list();
    for (var groups = kept; groups != 0u; groups &= groups - 1u) {
        let g = countTrailingZeros(groups);
        for (var i = 0u; i < LISTS; i++) {
            best = inserted_four(best, lists[g * LISTS + i]);
        }
        best = inserted(best, nexts[g]);
    }
    return Found(best, kept, field);
}

// Of four groups in order, those that are among the first so many.
fn bits_of_first(key: vec4<i32>, group: vec4<u32>, first: u32) -> u32 {
    let among = vec4(first) + vec4(0u, 1u, 2u, 3u) < vec4(params.kept_groups);
    let bits = select(vec4(0u), vec4(1u) << group, among);
    return (bits.x | bits.y) | (bits.z | bits.w);
}
