/**
 * XML-RPC around the dispatcher: the same calls as in JSON-RPC. A success and a failure of the API are both a result, a struct
 * with its `Status`; a fault tells of a body that is no call.
 */
import { toXapiError } from '../base/errors.js';
import type { Call, Dispatch } from '../model/dispatch.js';
import type { Answer, AnswerBody } from './answer.js';
import { parseXmlCall, type XmlRefusal } from './xml-call.js';
import { decodeXml } from './xml-text.js';
import { encodeXml, escapeXml } from './xml-value.js';

/** @returns what answers the body of a request */
export function createXmlRpc(dispatch: Dispatch): AnswerBody {
  return async (body, origin) => {
    const decoded = decodeXml(body);
    if ('refused' in decoded) return fault({ code: -32600, reason: decoded.refused });
    const parsed = parseXmlCall(decoded.text);
    if ('reason' in parsed) return fault(parsed);
    const call: Call = { name: parsed.method, params: parsed.params, validUtf8: decoded.valid, origin };
    const value = await resultOf(dispatch, call).catch(failureOf);
    return reply(200, `<params><param>${value}</param></params>`);
  };
}

async function resultOf(dispatch: Dispatch, call: Call): Promise<string> {
  const { type, value } = await dispatch(call);
  const result = encodeXml(type, value);
  // The one method that belongs to XML-RPC and not to the XenAPI.
  if (call.name === 'system.listMethods') return result;
  return struct(member('Status', '<value>Success</value>'), member('Value', result));
}

function failureOf(error: unknown): string {
  const { code, params } = toXapiError(error);
  const description = encodeXml({ kind: 'set', element: { kind: 'string' } }, [code, ...params]);
  return struct(member('Status', '<value>Failure</value>'), member('ErrorDescription', description));
}

function fault({ code, reason }: XmlRefusal): Answer {
  const said = struct(
    member('faultCode', `<value><int>${code}</int></value>`),
    member('faultString', `<value><string>${escapeXml(reason)}</string></value>`),
  );
  return reply(500, `<fault>${said}</fault>`);
}

function reply(status: Answer['status'], content: string): Answer {
  const text = `<?xml version="1.0"?><methodResponse>${content}</methodResponse>`;
  return { status, contentType: 'text/xml', text };
}

function struct(...members: readonly string[]): string {
  return `<value><struct>${members.join('')}</struct></value>`;
}

/** @param value with its element */
function member(name: string, value: string): string {
  return `<member><name>${name}</name>${value}</member>`;
}
