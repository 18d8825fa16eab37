// @ts-check

/**
 * @typedef {{person: string, purpose: string, until: string|null, given: "text"|"recording"|"synthetic", statement: string,
 *   statement_sha256: string, recorded: string, signer: string}} Consent
 */

const GIVEN = { text: "in writing", recording: "in a recording", synthetic: "not needed: a synthetic face" };

/** One line for a card.
 * @param {Consent} record */
export function consentLine(record) {
  if (record.given === "synthetic") return record.statement;
  return `Consent of ${record.person} until ${record.until}, for ${record.purpose}`;
}

/** Fill a `<dl>` with the whole record, so that it can be read before going live.
 * @param {HTMLElement} list
 * @param {Consent|undefined} record - undefined while no target is known */
export function showConsent(list, record) {
  /** @type {[string, string][]} */
  const rows = record
    ? [
        ["Who", record.person],
        ["What for", record.purpose],
        ["Until", record.until ?? "no end"],
        ["Given", `${GIVEN[record.given]}, recorded ${record.recorded}`],
        ["Statement", record.statement || "the recording with this hash"],
        ["SHA-256", record.statement_sha256],
        ["Vouched for", record.signer ? `signed by key ${record.signer.slice(0, 16)}` : "came with the program"],
      ]
    : [];
  list.replaceChildren(...rows.flatMap(([name, text]) => [cell("dt", name), cell("dd", text)]));
}

/** @param {string} tag @param {string} text */
function cell(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
