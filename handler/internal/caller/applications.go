package caller

import "podwatch/handler/internal/arm"

// An Application is a client that Microsoft documents or ships. Its name is the
// tool that was used; it never proves that the call was benign: anybody can sign in with
// Azure CLI, and its id is borrowed by other tools.
type Application struct {
	Name string

	// Service marks an application that acts on its own, without a user. An
	// app-only token for it belongs to Microsoft; one for any other entry is
	// odd enough to stay a plain service principal.
	Service bool
}

// applications are public ids of clients, services and token audiences that
// show up around clusters.
var applications = map[string]Application{
	"6dae42f8-4368-4678-94ff-3960e28e3630": {"AKS Entra server", false},                     // audience of tokens for AKS clusters
	"80faf920-1908-4b52-b5ef-a8e7bedfc67a": {"AKS Entra client", false},                     // interactive sign-in of kubelogin for AKS
	"3f4439ff-e698-4d6d-84fe-09c9d574f06b": {"Arc Kubernetes client", false},                // interactive sign-in for Arc-enabled clusters
	"6256c85f-0aad-4d50-b960-e6e9b21efe35": {"Arc Kubernetes server", false},                // audience of tokens for Arc-enabled clusters
	"29d9ed98-a469-4536-ade2-f981bc1d605e": {"Authentication Broker", false},                // sign-in on Windows on behalf of other tools
	"04b07795-8ddb-461a-bbee-02f9e1bf7b46": {"Azure CLI", false},                            // command line; also Terraform and other tools that borrow its id
	"499b84ac-1321-427f-aa17-267ca6975798": {"Azure DevOps", false},                         // audience of tokens for Azure DevOps; pipelines call with an application of their own
	"1950a258-227b-4e31-a9cf-717495945fc2": {"Azure PowerShell", false},                     // command line
	"1d78a85d-813d-46f0-b496-dd72f50a3ec0": {"Azure Policy Insights", true},                 // policy evaluation and remediation
	"c44b4083-3bb0-49c1-b47d-974e53cbdf3c": {"Azure portal", false},                         // web portals of Azure, Entra and Intune
	"37182072-3c9c-4f6a-a4b3-b3f91cacffce": {"AzureSupportCenter", true},                    // support cases
	"7319c514-987d-4e9b-ac3d-d38c4f427f4c": {"AzureContainerService", true},                 // resource provider of AKS
	"0c1307d4-29d6-4389-a11c-5cbe7f65d7fa": {"Azure mobile app", false},                     // phone app
	"bc313c14-388c-4e7d-a58e-70017303ee3b": {"Custom Locations RP", true},                   // resource provider of custom locations on Arc
	"3090ab82-f1c1-4cdf-af2c-5d7a6f3e2cc7": {"Defender for Cloud Apps", true},               // cloud access security broker
	"64b12d6e-6549-484c-8cc6-6281839ba394": {"KCS-UserRP", true},                            // resource provider of Arc-enabled Kubernetes
	"00000003-0000-0000-c000-000000000000": {"Microsoft Graph", false},                      // audience of tokens for Graph
	"aebc6443-996d-45c2-90f0-388ff96faa56": {"Visual Studio Code", false},                   // editor
	"797f4846-ba00-4fd7-ba43-dac1f8f63013": {"Windows Azure Service Management API", false}, // audience of tokens for Azure Resource Manager
}

// WellKnown finds an application by its id, in any spelling.
func WellKnown(id string) (Application, bool) {
	id, _ = arm.ParseGUID(id)
	app, ok := applications[id]
	return app, ok
}
