/** UTF-8, which QuickJS has no TextEncoder for. */

/** The bytes of a text; a lone half of a surrogate pair becomes U+FFFD. */
export function utf8Encode(text: string): Uint8Array {
    const bytes: number[] = [];
    for (const character of text) {
        const point = character.codePointAt(0) ?? 0;
        const code = point >= 0xd800 && point <= 0xdfff ? 0xfffd : point;
        if (code < 0x80) {
            bytes.push(code);
            continue;
        }
        const more = code < 0x800 ? 1 : code < 0x1_0000 ? 2 : 3;
        bytes.push(((0xff00 >> (more + 1)) & 0xff) | (code >> (6 * more)));
        for (let shift = 6 * (more - 1); shift >= 0; shift -= 6) {
            bytes.push(0x80 | ((code >> shift) & 0x3f));
        }
    }
    return Uint8Array.from(bytes);
}

/** The text of bytes that `utf8Encode` made. */
export function utf8Decode(bytes: Uint8Array): string {
    let text = "";
    for (let at = 0; at < bytes.length; ) {
        const first = bytes[at];
        const more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        let code = more === 0 ? first : first & (0x3f >> more);
        for (const byte of bytes.subarray(at + 1, at + 1 + more)) {
            code = (code << 6) | (byte & 0x3f);
        }
        text += String.fromCodePoint(code);
        at += 1 + more;
    }
    return text;
}
