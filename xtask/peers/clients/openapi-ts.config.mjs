// Node requires the file extension in imports.
export default { input: "openapi.json", output: { path: "hey-api", importFileExtension: ".js" } };
