// Validate PDFs with veraPDF, for tests/support/verapdf.py: one line of JSON for each file and standard.
//
//     java -cp ARCHIVE org.mozilla.javascript.tools.shell.Main verapdf.js STANDARDS FILE [STANDARDS FILE ...]
//
// Rhino, which runs this, comes in the archive with veraPDF, which needs it for its rules. The profiles are read
// here: veraPDF's own reader wants an implementation of JAXB, and the archive has none.
importPackage(org.verapdf.pdfa.validation.profiles);
importClass(org.verapdf.pdfa.flavours.PDFAFlavour, org.verapdf.pdfa.Foundries);

var PROFILES = {"3a": "PDFA-3A", "3b": "PDFA-3B", "ua1": "PDFUA-1"};
//: How often one rule is told of in one file.
var MOST_FAILURES = 3;
var profiles = {};

function children(node, name) {
    var found = [];
    for (var child = node.getFirstChild(); child; child = child.getNextSibling()) {
        if (child.getNodeName() == name) found.push(child);
    }
    return found;
}

function child(node, name) {
    var found = children(node, name);
    if (found.length != 1) throw found.length + " elements " + name;
    return found[0];
}

function text(node, name) {
    return child(node, name).getTextContent();
}

function readRule(node) {
    var id = child(node, "id"), error = child(node, "error"), words = new java.util.ArrayList();
    children(child(error, "arguments"), "argument").forEach(function (argument) {
        words.add(ErrorArgumentImpl.fromValues(argument.getTextContent(), argument.getAttribute("name"), null));
    });
    var specification = PDFAFlavour.Specification.valueOf(id.getAttribute("specification"));
    return Profiles.ruleFromValues(
        Profiles.ruleIdFromValues(specification, id.getAttribute("clause"), parseInt(id.getAttribute("testNumber"))),
        node.getAttribute("object"), java.lang.Boolean.valueOf(node.getAttribute("deferred")),
        node.getAttribute("tags"), text(node, "description"), text(node, "test"),
        Profiles.errorFromValues(text(error, "message"), words), new java.util.ArrayList());
}

function readProfile(standard) {
    if (!(standard in PROFILES)) throw "no profile is known here for " + standard;
    var path = "/org/verapdf/pdfa/validation/" + PROFILES[standard] + ".xml";
    var source = java.lang.Class.forName("org.verapdf.pdfa.Foundries").getResourceAsStream(path);
    var parsers = javax.xml.parsers.DocumentBuilderFactory.newInstance();
    var root = parsers.newDocumentBuilder().parse(source).getDocumentElement();
    var rules = new java.util.HashSet(), variables = new java.util.HashSet();
    children(child(root, "rules"), "rule").forEach(function (node) { rules.add(readRule(node)); });
    children(child(root, "variables"), "variable").forEach(function (node) {
        variables.add(Profiles.variableFromValues(
            node.getAttribute("name"), node.getAttribute("object"), text(node, "defaultValue"), text(node, "value")));
    });
    var details = Profiles.profileDetailsFromValues(PROFILES[standard], "", "", new java.util.Date(0));
    return Profiles.profileFromValues(PDFAFlavour.byFlavourId(standard), details, "", rules, variables);
}

function list(collection) {
    return collection.toArray().map(function (item) { return item; });
}

function readDeclared(path) {
    var parser = Foundries.defaultInstance().createParser(new java.io.File(path));
    var flavours = list(parser.getFlavours());
    parser.close();
    return flavours.map(function (flavour) { return String(flavour.getId()); });
}

function validate(path, declared, standard) {
    var profile = profiles[standard] || (profiles[standard] = readProfile(standard));
    var file = new java.io.File(path);
    var parser = Foundries.defaultInstance().createParser(file, profile.getPDFAFlavour());
    var validator = Foundries.defaultInstance().createValidator(profile, MOST_FAILURES, false, true, false);
    var result = validator.validate(parser);
    parser.close();
    return {
        path: path,
        standard: standard,
        declared: declared,
        rules: profile.getRules().size(),
        checks: result.getTotalAssertions(),
        compliant: result.isCompliant(),
        ended: String(result.getJobEndStatus()),
        failures: list(result.getTestAssertions()).map(function (assertion) {
            return {
                clause: String(assertion.getRuleId().getClause()),
                test: assertion.getRuleId().getTestNumber(),
                message: String(assertion.getErrorMessage() || assertion.getMessage()),
                place: String(assertion.getLocation().getContext()),
            };
        }),
    };
}

org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider.initialise();
for (var index = 0; index < arguments.length; index += 2) {
    var path = arguments[index + 1], declared = readDeclared(path);
    arguments[index].split(",").forEach(function (standard) {
        print(JSON.stringify(validate(path, declared, standard)));
    });
}
