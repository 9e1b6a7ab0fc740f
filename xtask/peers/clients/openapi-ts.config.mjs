// Node asks for the extension in an import.
export default { input: "openapi.json", output: { path: "hey-api", importFileExtension: ".js" } };
