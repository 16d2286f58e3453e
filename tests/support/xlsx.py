"""Workbooks written part by part, so that a test can have any of them as no program writes it."""

import io
import re
import zipfile

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def page(rows, *, before="", after=""):
    """A worksheet: `rows` is XML, `before` and `after` stand around its rows."""
    return f'{HEAD}<worksheet xmlns="{MAIN}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'


def grid(rows, *, hidden=()):
    """Rows as XML from lists of cells: None, a text (inline), or XML of a cell from behind its place on."""
    out = []
    for number, row in enumerate(rows, 1):
        cells = "".join(_cell(chr(65 + i), number, value) for i, value in enumerate(row) if value is not None)
        mark = ' hidden="1"' if number in hidden else ""
        out.append(f'<row r="{number}"{mark}>{cells}</row>')
    return "".join(out)


def _cell(letter, number, value):
    if isinstance(value, int):
        return f'<c r="{letter}{number}"><v>{value}</v></c>'
    if value.startswith((" ", ">", "/")):
        return f'<c r="{letter}{number}"{value}' + ("" if re.match("[^>]*/>", value) else "</c>")
    return f'<c r="{letter}{number}" t="inlineStr"><is><t>{value}</t></is></c>'


def parts(*pages, strings=None, styles=None, names=None, states=None):
    """The parts of a workbook by name; sheets are called S1, S2 … unless told."""
    names = names or [f"S{i + 1}" for i in range(len(pages))]
    states = states or {}
    sheets = "".join(
        f'<sheet name="{name}" sheetId="{i}"{_state(states.get(i - 1))} r:id="rId{i}"/>'
        for i, name in enumerate(names, 1)
    )
    own = [("worksheet", f"worksheets/sheet{i + 1}.xml") for i in range(len(pages))]
    own += [("sharedStrings", "sharedStrings.xml")] if strings is not None else []
    own += [("styles", "styles.xml")] if styles is not None else []
    whole = f'{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{RELS}"><sheets>{sheets}</sheets></workbook>'
    found = {
        "_rels/.rels": relationships([("officeDocument", "xl/workbook.xml")]),
        "xl/workbook.xml": whole,
        "xl/_rels/workbook.xml.rels": relationships(own),
    }
    found |= {f"xl/worksheets/sheet{i + 1}.xml": xml for i, xml in enumerate(pages)}
    if strings is not None:
        found["xl/sharedStrings.xml"] = f'{HEAD}<sst xmlns="{MAIN}">{strings}</sst>'
    if styles is not None:
        found["xl/styles.xml"] = f'{HEAD}<styleSheet xmlns="{MAIN}">{styles}</styleSheet>'
    return found


def _state(state):
    return f' state="{state}"' if state else ""


def relationships(pairs):
    """A part of relationships, `rId1` and on."""
    inner = "".join(
        f'<Relationship Id="rId{i}" Type="{RELS}/{kind}" Target="{target}"/>'
        for i, (kind, target) in enumerate(pairs, 1)
    )
    return f'{HEAD}<Relationships xmlns="{PACKAGE}">{inner}</Relationships>'


def packed(found, *, method=zipfile.ZIP_DEFLATED):
    """Pack parts; their time is the first that a zip archive can tell, so that the bytes repeat."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in found.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def book(*pages, **more):
    """A whole workbook of these worksheets; `more` as in `parts`."""
    return packed(parts(*pages, **more))
