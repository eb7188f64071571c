"""The example of the contract: a paid claim's lines as they are published, and the claim that they make."""

# When the example's events were stored: 2026-03-21T02:00:00Z.
RECORDED_AT_US = 1_774_058_400_000_000

PUBLISHED = r"""
{"specversion":"1.0","id":"s-0017-1","source":"/ehr/eastside","type":"session.recorded.v1","subject":"CLM-000123","time":"2026-03-02T15:30:00Z","datacontenttype":"application/json","data":{"session_id":"S-0017","date_of_service":"2026-03-02","provider":{"npi":"1234567893","credential":"LMT"},"payer_id":"60054","plan":"PPO-2026","patient_ref":"p_5b1f0c9e","place_of_service":"11","procedures":[{"code":"97124","modifiers":["GP"],"minutes":30,"units":2,"charge":"90.00","diagnoses":["M54.50"]},{"code":"97140","modifiers":["GP","59"],"minutes":15,"units":1,"charge":"40.00","diagnoses":["M54.50","M62.830"]}],"authorization":{"number":"A-88211","valid_from":"2026-02-01","valid_to":"2026-04-30","units":12},"order":{"npi":"1881018000","date":"2026-02-20"},"documentation":["history","goals","techniques","response","necessity"]}}
{"specversion":"1.0","id":"sub-1","source":"/billing/eastside","type":"claim.submitted.v1","subject":"CLM-000123","time":"2026-03-04T14:00:00Z","datacontenttype":"application/json","data":{"submission_id":"SUB-1","kind":"original","payer_id":"60054","payer_rank":1,"clearinghouse":"CH-01","total_charge":"130.00","lines":[{"line":"1","code":"97124","modifiers":["GP"],"units":2,"charge":"90.00","date_of_service":"2026-03-02"},{"line":"2","code":"97140","modifiers":["GP","59"],"units":1,"charge":"40.00","date_of_service":"2026-03-02"}]}}
{"specversion":"1.0","id":"277ca-1","source":"/clearinghouse/ch-01","type":"payer.response.v1","subject":"CLM-000123","time":"2026-03-04T14:20:00Z","datacontenttype":"application/json","data":{"response":"acknowledged","sender":"clearinghouse","payer_id":"60054","payer_rank":1,"submission_id":"SUB-1","statuses":[{"category":"A1","code":"20"}]}}
{"specversion":"1.0","id":"277ca-2","source":"/clearinghouse/ch-01","type":"payer.response.v1","subject":"CLM-000123","time":"2026-03-05T06:00:00Z","datacontenttype":"application/json","data":{"response":"accepted","sender":"payer","payer_id":"60054","payer_rank":1,"submission_id":"SUB-1","payer_claim_number":"26064A0001","statuses":[{"category":"A2","code":"20"}],"received_on":"2026-03-05"}}
{"specversion":"1.0","id":"835-1","source":"/clearinghouse/ch-01","type":"payer.response.v1","subject":"CLM-000123","time":"2026-03-20T00:00:00Z","datacontenttype":"application/json","data":{"response":"approved","sender":"payer","payer_id":"60054","payer_rank":1,"payer_claim_number":"26064A0001","received_on":"2026-03-05","decided_on":"2026-03-20","paid_on":"2026-03-24","trace":"EFT-77120","allowed":"110.00","paid":"88.00","patient_responsibility":"22.00","adjustments":[{"group":"CO","reason":"45","amount":"20.00","line":"1"},{"group":"PR","reason":"2","amount":"22.00","line":"1"}],"remarks":[],"lines":[{"line":"1","code":"97124","charge":"90.00","allowed":"70.00","paid":"48.00","units":2},{"line":"2","code":"97140","charge":"40.00","allowed":"40.00","paid":"40.00","units":1}]}}
"""

# What `claimpath claim show CLM-000123 --json` prints of them.
SHOWN = r"""
{"claim_id": "CLM-000123", "state": "approved",
 "facets": {"acknowledgement": "accepted", "needs_information": false, "attempt": 1, "appeal_level": 0, "payer_rank": 1,
  "payment": "paid"},
 "money": {"billed": "130.00", "allowed": "110.00", "paid": "88.00",
  "adjusted": "20.00", "patient": "22.00", "open": "0.00"},
 "denial_reasons": [], "findings": [], "rejection_reasons": [],
 "durations_s": {"charge_lag": 172800, "acknowledgement": 57600, "decision": 1382400,
  "denial_to_appeal": null, "appeal": null, "payment": 1728000, "reimbursement": 1900800},
 "events": [
  {"source": "/ehr/eastside", "id": "s-0017-1", "type": "session.recorded.v1",
   "time": "2026-03-02T15:30:00Z", "outcome": "applied", "reason": null, "recorded_at": "2026-03-21T02:00:00.000Z"},
  {"source": "/billing/eastside", "id": "sub-1", "type": "claim.submitted.v1",
   "time": "2026-03-04T14:00:00Z", "outcome": "applied", "reason": null, "recorded_at": "2026-03-21T02:00:00.000Z"},
  {"source": "/clearinghouse/ch-01", "id": "277ca-1", "type": "payer.response.v1",
   "time": "2026-03-04T14:20:00Z", "outcome": "applied", "reason": null, "recorded_at": "2026-03-21T02:00:00.000Z"},
  {"source": "/clearinghouse/ch-01", "id": "277ca-2", "type": "payer.response.v1",
   "time": "2026-03-05T06:00:00Z", "outcome": "applied", "reason": null, "recorded_at": "2026-03-21T02:00:00.000Z"},
  {"source": "/clearinghouse/ch-01", "id": "835-1", "type": "payer.response.v1",
   "time": "2026-03-20T00:00:00Z", "outcome": "applied", "reason": null, "recorded_at": "2026-03-21T02:00:00.000Z"}],
 "history": [
  {"state_before": null, "state": "draft",
   "at": "2026-03-02T15:30:00Z", "recorded_at": "2026-03-21T02:00:00.000Z",
   "event": {"source": "/ehr/eastside", "id": "s-0017-1"}},
  {"state_before": "draft", "state": "submitted",
   "at": "2026-03-04T14:00:00Z", "recorded_at": "2026-03-21T02:00:00.000Z",
   "event": {"source": "/billing/eastside", "id": "sub-1"}},
  {"state_before": "submitted", "state": "approved",
   "at": "2026-03-20T00:00:00Z", "recorded_at": "2026-03-21T02:00:00.000Z",
   "event": {"source": "/clearinghouse/ch-01", "id": "835-1"}}]}
"""
