/** The text of an XML document from its bytes, in the encoding that it declares. */
import { isUtf8 } from 'node:buffer';

export interface XmlText {
  readonly text: string;
  /** Whether every byte was a character of the encoding. */
  readonly valid: boolean;
}

/** Encodings by their names in lower case. US-ASCII has the same bytes in UTF-8. */
const decoders: Readonly<Record<string, (body: Buffer) => XmlText>> = {
  'utf-8': utf8,
  'us-ascii': utf8,
  'iso-8859-1': (body) => ({ text: body.toString('latin1'), valid: true }),
  'iso-8859-15': (body) => ({ text: new TextDecoder('iso-8859-15').decode(body), valid: true }),
  'windows-1252': (body) => ({ text: windows1252(body), valid: true }),
};

const allowed = 'UTF-8, US-ASCII, ISO-8859-1, ISO-8859-15, windows-1252';

/** @returns the text; of one in another encoding, why it is not read */
export function decodeXml(body: Buffer): XmlText | { readonly refused: string } {
  const declaration = body.subarray(0, 200).toString('latin1');
  const isUtf16 = /^(\xfe\xff|\xff\xfe|<\0|\0<)/.test(declaration);
  const [, named = 'UTF-8'] = /^\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"']*)["']/.exec(declaration) ?? [];
  const encoding = isUtf16 ? 'UTF-16' : named;
  const decode = decoders[encoding.toLowerCase()];
  return decode === undefined ? { refused: `the encoding is '${encoding}'; allowed: ${allowed}` } : decode(body);
}

/** Characters 0x80 to 0x9f; the others are those of ISO-8859-1 (unicode.org, CP1252.TXT). */
const windowsCharacters = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ';

/** TextDecoder takes windows-1252 for ISO-8859-1 in some releases of Node. */
function windows1252(body: Buffer): string {
  return body
    .toString('latin1')
    .replace(/[\u0080-\u009f]/g, (character) => windowsCharacters[character.charCodeAt(0) - 0x80] as string);
}

function utf8(body: Buffer): XmlText {
  return { text: body.toString('utf8'), valid: isUtf8(body) };
}
